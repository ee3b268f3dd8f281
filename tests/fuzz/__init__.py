"""Fuzzing: `targets` is what is fed, `seeds` what good input looks like, `run` drives atheris."""
