/* Convolution of two output positions and two output channels at a time. `patches` has room for two windows.
   `weight` holds, per group and pair of output channels, the taps in window order, the two channels alternating. */
static void NAME(const X_T *restrict x, const W_T *restrict weight, const B_T *restrict bias, Y_T *restrict y,
                 U_T *restrict patches, const struct window *p, const struct requant *r)
{
    const int32_t count = p->kernel_height * p->kernel_width * (p->channels / p->groups);
    const int32_t positions = p->out_height * p->out_width;
    const int32_t outs = p->out_channels / p->groups;
    int32_t group, position, out;
    for (group = 0; group < p->groups; group++) {
        const int32_t base = group * outs;
        const W_T *group_weight = weight + group * ((outs + 1) / 2) * 2 * count;
        for (position = 0; position < positions; position += 2) {
            const int32_t two = position + 1 < positions;
            const U_T *second = two ? patches + count : patches;
            Y_T *to = y + position * p->out_channels;
            GATHER(x, patches, p, position, group);
            if (two) {
                GATHER(x, patches + count, p, position + 1, group);
            }
            for (out = 0; out < outs; out += 2) {
                const int32_t o = base + out;
                const int32_t pair = out + 1 < outs;
                const ACC_T b0 = (ACC_T)bias[o], b1 = pair ? (ACC_T)bias[o + 1] : 0;
                ACC_T sums[4];
                sums[0] = sums[2] = b0;
                sums[1] = sums[3] = b1;
                DOT(patches, second, group_weight + out * count, count, sums);
                to[o] = REQUANT(sums[0], r, o);
                if (pair) {
                    to[o + 1] = REQUANT(sums[1], r, o + 1);
                }
                if (two) {
                    to[o + p->out_channels] = REQUANT(sums[2], r, o);
                    if (pair) {
                        to[o + p->out_channels + 1] = REQUANT(sums[3], r, o + 1);
                    }
                }
            }
        }
    }
}
