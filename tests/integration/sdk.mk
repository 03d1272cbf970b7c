# integration tests of what authors of plugins get
dist_check_SCRIPTS += %D%/sdk.py
TESTS += %D%/sdk.py
