"""The sections of a report: one module and one template of the same name for each."""
