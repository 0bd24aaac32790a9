"""What actions change: functions that write through a draft, which remembers how to take it back."""
