"""What every dataset is asked before anyone trains on it: one module per question, ``catalogue`` names them,
``findings`` gathers the answers.
"""
