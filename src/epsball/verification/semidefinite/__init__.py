"""The semidefinite relaxation: its lift, its dual, and how the dual is climbed."""
