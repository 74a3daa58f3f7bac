"""Run records: what a line may say, the file they are appended to, and the only code that goes on with one."""
