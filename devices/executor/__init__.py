"""Many boards, bundles and scenarios: jobs as plain data, executors that run them, and what each gave."""
