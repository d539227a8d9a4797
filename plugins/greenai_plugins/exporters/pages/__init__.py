"""What a report tells people, and how it is written down."""
