"""Names that people in worlds have."""

from __future__ import annotations

FIRST_NAMES = (
    "Ada", "Amir", "Anja", "Aron", "Bea", "Boris", "Carla", "Chen", "Clara", "Dana", "David",
    "Edda", "Elif", "Emil", "Farid", "Fiona", "Greta", "Hana", "Hugo", "Ida", "Igor", "Ines",
    "Ivo", "Jana", "Jonas", "Julia", "Kai", "Karim", "Kira", "Lars", "Lena", "Leo", "Lina",
    "Luis", "Mara", "Marek", "Maya", "Mia", "Milan", "Nadia", "Nils", "Nora", "Olga", "Omar",
    "Oskar", "Paula", "Pavel", "Pia", "Rana", "Remy", "Rosa", "Sami", "Sara", "Selim", "Sofia",
    "Tara", "Theo", "Tilda", "Vera", "Yusuf",
)  # fmt: skip
LAST_NAMES = (
    "Abel", "Adler", "Alvarez", "Andersen", "Bauer", "Berg", "Bianchi", "Blom", "Brandt",
    "Carter", "Costa", "Dahl", "Demir", "Duarte", "Eklund", "Ferri", "Fischer", "Fontaine",
    "Garcia", "Gruber", "Haas", "Hansen", "Haddad", "Ito", "Jensen", "Keller", "Kim", "Klein",
    "Kovac", "Lang", "Larsen", "Lindt", "Lopez", "Maier", "Marino", "Mendes", "Moreau", "Nagy",
    "Novak", "Okafor", "Olsen", "Park", "Petrov", "Quist", "Reyes", "Ricci", "Rossi", "Sato",
    "Silva", "Singh", "Sorel", "Steiner", "Tanaka", "Toth", "Ueda", "Varga", "Vogel", "Weber",
    "Wolff", "Zeman",
)  # fmt: skip
