# Lockstep. `make` builds build/lockstep; see `make help`.
VERSION := 0.1.0
BUILD   ?= build
PREFIX  ?= /usr/local
ifeq ($(origin CC),default)
CC      := gcc
endif
# `make V=1` shows whole commands.
Q       := $(if $(V),,@)
say      = $(if $(V),,@echo '  $(1)')
MPI     ?= ompi-c
PKGS    := $(MPI) libfyaml jansson libxxhash openblas zlib liblzma

GIT     := $(shell commit=$$(git rev-parse --short=12 HEAD 2>/dev/null) || { echo none; exit; }; \
             git diff --quiet HEAD && echo $$commit || echo $$commit+)
WARN    := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wdouble-promotion \
           -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wpointer-arith -Wcast-qual \
           -Wwrite-strings -Wundef -Wvla -Wformat=2 -Wnull-dereference -Wimplicit-fallthrough \
           -Wswitch-enum $(if $(filter 1,$(WERROR)),-Werror)
OPT     ?= -O3 -g
# Multiply-adds are written where they are wanted (fused.h); no -ffast-math: see docs/numerics.md.
CFLAGS  += -std=c11 -D_GNU_SOURCE $(OPT) $(WARN) -fno-math-errno -fno-trapping-math -ffp-contract=off
CPPFLAGS += -Iinclude $(patsubst -I%,-isystem %,$(shell pkg-config --cflags-only-I $(PKGS)))
LDLIBS  += $(shell pkg-config --libs $(PKGS)) -lm

# Kernel families: the same source once per instruction-set level (include/lockstep/cpu.h).
ARCH    := $(shell $(CC) -dumpmachine | cut -d- -f1)
LEVELS  := $(if $(filter x86_64,$(ARCH)),v2 v3 v4,v2)
MARCH_v2 := $(if $(filter x86_64,$(ARCH)),-march=x86-64-v2)
MARCH_v3 := -march=x86-64-v3
MARCH_v4 := -march=x86-64-v4 -mprefer-vector-width=512
ISA_DIRS := src/base/kernels src/nn/kernels src/nn/layers src/nn/losses src/opt/methods src/opt/wrappers \
	src/comm/compress

ISA_SRC := $(wildcard $(addsuffix /*.c,$(ISA_DIRS)))
SRC     := $(filter-out $(ISA_SRC) src/main.c,$(wildcard src/*/*.c src/*/*/*.c))
OBJ     := $(SRC:%.c=$(BUILD)/%.o) $(foreach l,$(LEVELS),$(ISA_SRC:%.c=$(BUILD)/%.$(l).o))
LIB     := $(BUILD)/liblockstep.a
PROGRAM := $(BUILD)/lockstep
TESTS   := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/*/test_*.c))
GOLDEN_RUNNER := $(BUILD)/tests/golden/golden
GOLDEN  ?= tests/golden

all: $(PROGRAM)

$(PROGRAM): $(BUILD)/src/main.o $(LIB)
	$(call say,LD $@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)
$(LIB): $(OBJ)
	$(call say,AR $@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^
define isa_rule
$(BUILD)/%.$(1).o: %.c
	$$(call say,CC $$< ($(1)))
	@mkdir -p $$(@D)
	$$(Q)$$(CC) $$(CPPFLAGS) $$(CFLAGS) $$(MARCH_$(1)) -DLOCKSTEP_ISA=$(1) -MMD -MP -c -o $$@ $$<
endef
$(foreach l,$(LEVELS),$(eval $(call isa_rule,$(l))))
$(BUILD)/%.o: %.c
	$(call say,CC $<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(DEFINES) -MMD -MP -c -o $@ $<
$(BUILD)/src/base/version.o: DEFINES = -DLOCKSTEP_VERSION='"$(VERSION)"' -DLOCKSTEP_GIT='"$(GIT)"' \
	-DLOCKSTEP_CFLAGS='"$(OPT)"'
$(BUILD)/src/base/version.o: $(BUILD)/git-$(GIT)
$(BUILD)/git-$(GIT):
	@mkdir -p $(BUILD) && rm -f $(BUILD)/git-* && touch $@

tests: $(TESTS) $(GOLDEN_RUNNER)
$(TESTS): $(BUILD)/%: $(BUILD)/%.o $(BUILD)/tests/support.o $(LIB)
	$(call say,LD $@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(shell pkg-config --libs check) $(LDLIBS)
$(BUILD)/tests/%.o: CPPFLAGS += -Itests
$(GOLDEN_RUNNER): $(patsubst %.c,$(BUILD)/%.o,$(filter-out tests/golden/test_%,$(wildcard tests/golden/*.c))) $(LIB)
	$(call say,LD $@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

check: $(PROGRAM) tests
	tests/run $(BUILD)
golden: $(GOLDEN_RUNNER)
	$(GOLDEN_RUNNER) $(GOLDEN)
asan: ; $(MAKE) BUILD=$(BUILD)-asan OPT="-O1 -g -fsanitize=address,undefined -fno-omit-frame-pointer" LDFLAGS="-fsanitize=address,undefined" check
tsan: ; $(MAKE) BUILD=$(BUILD)-tsan OPT="-O1 -g -fsanitize=thread" LDFLAGS="-fsanitize=thread" check
lint: ; tests/lint
format: ; clang-format -i $$(git ls-files '*.c' '*.h')
docs: $(PROGRAM) ; $(PROGRAM) list --markdown > docs/options.md
install: $(PROGRAM)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/lockstep $(DESTDIR)$(PREFIX)/share/doc/lockstep
	install -m 755 $(PROGRAM) $(DESTDIR)$(PREFIX)/bin/lockstep
	cp -r configs $(DESTDIR)$(PREFIX)/share/lockstep/
	install -m 644 README.md docs/*.md docs/*.svg $(DESTDIR)$(PREFIX)/share/doc/lockstep/
clean: ; rm -rf $(BUILD) $(BUILD)-asan $(BUILD)-tsan
help:
	@echo 'make [all] check golden [GOLDEN=DIR] asan tsan lint format docs install [PREFIX=] clean'
.PHONY: all tests check golden asan tsan lint format docs install clean help
.PRECIOUS: %.o
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
