"""People, side by side: which of two models answers better, as raters who know neither say.

tasks      answers of A and B to the same prompts, stripped of what names a model
assign     who sees which pair, on which side: a pure function of a seed
study      the folder that all of it lies in, and the key that the server never reads
desk       what a rater sees next, and what becomes of a click
server     the desk as a page, from the standard library
ratings    clicks and key as one table
report     preference, agreement, bias, raters to look at
export     what people said, in forms that train a preference model
"""
