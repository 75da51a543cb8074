def holds(family, case):
    return False
