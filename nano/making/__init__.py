"""Makes the small weights: every training, evaluation and export in its order, as child processes.

A finished part is skipped when it is called again, and a stopped one resumes.
"""
