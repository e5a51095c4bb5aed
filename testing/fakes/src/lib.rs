//! Test doubles that a test can steer.
