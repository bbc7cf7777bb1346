"""How scoring scales: the scheduler under a simulated cluster, and Ray with two workers beside one."""
