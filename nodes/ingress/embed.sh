#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# embed.sh FILE... writes assembler source that holds the files as bytes, with a table for page.c: name, start, end.
set -eu
printf '    .section .rodata\n'
i=0
for file; do
    printf '    .balign 16\npage_start_%d:\n    .incbin "%s"\npage_end_%d:\n    .byte 0\npage_name_%d:\n    .asciz "%s"\n' \
        "$i" "$file" "$i" "$i" "${file##*/}"
    i=$((i + 1))
done
printf '    .section .data.rel.ro,"aw",@progbits\n    .balign 8\n    .globl PAGE_FILES\nPAGE_FILES:\n'
n=0
while [ "$n" -lt "$i" ]; do
    printf '    .quad page_name_%d, page_start_%d, page_end_%d\n' "$n" "$n" "$n"
    n=$((n + 1))
done
printf '    .quad 0, 0, 0\n    .section .note.GNU-stack,"",@progbits\n'
