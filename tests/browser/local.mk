# the page in a real browser; skips where that can't be
EXTRA_DIST += %D%/.npmrc %D%/broker.mjs %D%/lib.mjs %D%/package.json %D%/package-lock.json %D%/page.test.mjs
dist_check_SCRIPTS += %D%/browser.py
TESTS += %D%/browser.py
clean-local: clean-browser
clean-browser:
	rm -rf tests/browser.work
