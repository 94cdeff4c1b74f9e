"""A scoring function as verl calls one."""


def compute(data_source, solution_str, ground_truth, extra_info=None):
    return float(ground_truth in solution_str)
