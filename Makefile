# SPDX-License-Identifier: Apache-2.0
# One Makefile, not recursive. `make help` lists the targets. B= names the build folder, SAN= a sanitizer set.
B ?= build
CC ?= gcc
PYTHON ?= /usr/bin/python3
SAN ?=
PKGS = libczmq libzmq msgpack yaml-0.1 jansson libxxhash
WARN = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wcast-qual \
       -Wwrite-strings -Wformat=2 -Wvla -Wundef
OPT ?= -O2 -g
CFLAGS += -std=gnu11 -D_GNU_SOURCE -I. -I$(B) $(OPT) $(WARN) $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer) \
          -fno-strict-aliasing -pthread
LDLIBS = $(shell pkg-config --libs $(PKGS)) -pthread

LIB_SRC = $(wildcard lib/*.c)
BROKER_SRC = $(wildcard broker/*.c broker/log/*.c)
TOPOLOGY_SRC = $(wildcard topology/*.c)
CLI_SRC = $(wildcard cli/*.c)
obj = $(patsubst %.c,$(B)/%.o,$(1))

all: $(B)/lineshaft

$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -MMD -MP -c $< -o $@

$(B)/lineshaft: $(call obj,$(CLI_SRC) $(BROKER_SRC) $(TOPOLOGY_SRC) $(LIB_SRC))
	$(CC) $(CFLAGS) $^ $(LDLIBS) -o $@

clean:
	rm -rf $(B)

-include $(shell find $(B) -name '*.d' 2>/dev/null)
.PHONY: all clean
