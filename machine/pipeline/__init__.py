"""The whole machine from one file: phases in order, side by side where there is room."""
