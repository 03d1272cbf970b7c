# tests of the dashboard and the doctor
EXTRA_DIST += tests/dashboard/fake_system.py
