/* Where a block of elements comes from and goes to: extents and strides of three axes. */
struct block {
    int32_t extent[3], from[3], to[3];
};
