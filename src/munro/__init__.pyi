from munro.machine.notebook import climb as climb

__version__: str
