"""What only volumes and movies have: objects that go through slices or frames, all objects of them, sections."""
