static inline int32_t ordinal_FORMAT(X_T code)
{
    return code;
}
