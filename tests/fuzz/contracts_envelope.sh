#!/bin/sh
# the fuzz target envelope over its corpus, see replay.c
exec "${ODTO_BUILDDIR:-.}/tests/fuzz/replay_envelope" "${ODTO_SRCDIR:-.}/tests/fuzz/corpus/envelope"
