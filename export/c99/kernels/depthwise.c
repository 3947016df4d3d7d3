/* Depthwise convolution, one output channel per input channel, four channels at a time. `weight` is tap by channel. */
static void NAME(const X_T *restrict x, const W_T *restrict weight, const B_T *restrict bias, Y_T *restrict y,
                 const struct window *p, const struct requant *r)
{
    const int32_t channels = p->channels, zero = p->zero, fours = channels - channels % 4;
    const int32_t step = p->dilation_x * channels;
    int32_t oy, ox, c, ky, kx;
    for (oy = 0; oy < p->out_height; oy++) {
        const int32_t top = oy * p->stride_y - p->pad_top;
        int32_t ky0, ky1;
        clip_window(top, p->height, p->kernel_height, p->dilation_y, &ky0, &ky1);
        for (ox = 0; ox < p->out_width; ox++) {
            const int32_t left = ox * p->stride_x - p->pad_left;
            int32_t kx0, kx1;
            clip_window(left, p->width, p->kernel_width, p->dilation_x, &kx0, &kx1);
            for (c = 0; c < fours; c += 4) {
                ACC_T s0 = (ACC_T)bias[c], s1 = (ACC_T)bias[c + 1], s2 = (ACC_T)bias[c + 2], s3 = (ACC_T)bias[c + 3];
                for (ky = ky0; ky < ky1; ky++) {
                    const int32_t iy = top + ky * p->dilation_y, ix = left + kx0 * p->dilation_x;
                    const X_T *from = x + (iy * p->width + ix) * channels + c;
                    const W_T *tap = weight + (ky * p->kernel_width + kx0) * channels + c;
                    for (kx = kx0; kx < kx1; kx++) {
                        s0 += (ACC_T)(X_UNITS(from[0]) - zero) * (ACC_T)W_UNITS(tap[0]);
                        s1 += (ACC_T)(X_UNITS(from[1]) - zero) * (ACC_T)W_UNITS(tap[1]);
                        s2 += (ACC_T)(X_UNITS(from[2]) - zero) * (ACC_T)W_UNITS(tap[2]);
                        s3 += (ACC_T)(X_UNITS(from[3]) - zero) * (ACC_T)W_UNITS(tap[3]);
                        from += step;
                        tap += channels;
                    }
                }
                y[c] = REQUANT(s0, r, c);
                y[c + 1] = REQUANT(s1, r, c + 1);
                y[c + 2] = REQUANT(s2, r, c + 2);
                y[c + 3] = REQUANT(s3, r, c + 3);
            }
            for (c = fours; c < channels; c++) {
                ACC_T sum = (ACC_T)bias[c];
                for (ky = ky0; ky < ky1; ky++) {
                    for (kx = kx0; kx < kx1; kx++) {
                        const int32_t iy = top + ky * p->dilation_y, ix = left + kx * p->dilation_x;
                        const X_T code = x[(iy * p->width + ix) * channels + c];
                        const W_T tap = weight[(ky * p->kernel_width + kx) * channels + c];
                        sum += (ACC_T)(X_UNITS(code) - zero) * (ACC_T)W_UNITS(tap);
                    }
                }
                y[c] = REQUANT(sum, r, c);
            }
            y += channels;
        }
    }
}
