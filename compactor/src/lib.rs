//! Bronze.
