"""`munro import` and `munro submit`: from elsewhere to here, and from here to a cluster."""
