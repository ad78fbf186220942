"""The hotline's desk: entries, people, publishing, reports (docs/hotline.md)."""
