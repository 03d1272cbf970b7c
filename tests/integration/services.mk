# integration tests of the services
services_scripts = %D%/gateway.py %D%/read_model.py %D%/gate.py %D%/services_reload.py %D%/web.py
dist_check_SCRIPTS += $(services_scripts)
TESTS += $(services_scripts)
