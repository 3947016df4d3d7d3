/* The input codes as constant data: the file itself, which assembles faster than a long C array. */
    .syntax unified
    .section .rodata.edgemill_inputs, "a"
    .global edgemill_inputs
    .global edgemill_image_count
    .balign 4
edgemill_inputs:
    .incbin "inputs.bin"
    .balign 4
edgemill_image_count:
    .word EDGEMILL_IMAGES
