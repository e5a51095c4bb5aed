//! A sandbox of plain operating-system processes: bounded and supervised, not isolated.
