# integration tests of what authors of plugins get
dist_check_SCRIPTS += %D%/sdk.py %D%/privileges.py %D%/plugin_check.py %D%/reload_load.py
TESTS += %D%/sdk.py %D%/privileges.py %D%/plugin_check.py %D%/reload_load.py
