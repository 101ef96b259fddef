echo hi | tr a-z A-Z
