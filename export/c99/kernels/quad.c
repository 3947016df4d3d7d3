/* Four output channels: what their sums start from, and how the sums become codes. */
struct quad {
    int32_t bias[4], mantissa[4], shift[4];
};
