"""What is looked for in thoughts, one file each."""
