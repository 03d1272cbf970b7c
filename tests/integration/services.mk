# integration tests of the services
EXTRA_DIST += %D%/gateway.py %D%/read_model.py %D%/gate.py %D%/services_reload.py
