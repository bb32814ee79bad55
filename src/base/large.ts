/**
 * From where on a payload is treated as large, in characters or bytes: what is cheap for one message in
 * a thousand is done then, so that fewer copies of it are in memory at once. Smaller ones V8 collects in
 * passing.
 */
export const LARGE_FROM = 256 * 1024;
