# SPDX-License-Identifier: Apache-2.0
"""The HTTP server of llama.cpp as the package xllamacpp carries it, with one slot: llama_server.py MODEL.gguf PORT KEY THREADS.
It ends with its standard input. It says what it does on standard error, as llama-server does."""
import sys

import xllamacpp


def main():
    model, port, key, threads = sys.argv[1:]
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.model_alias = {"smollm2"}
    params.hostnames = ["127.0.0.1"]
    params.port = int(port)
    params.api_keys = [key]
    params.n_ctx = 1024
    params.n_parallel = 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = int(threads)
    params.endpoint_slots = params.endpoint_metrics = True
    params.ui = False
    server = xllamacpp.Server(params)
    print("serving", server.listening_address, flush=True)
    sys.stdin.read()


main()
