/** What is much: as one payload, and as many small ones. */

/**
 * From where on a payload is treated as large, in characters or bytes: what is cheap for one message in
 * a thousand is done then, so that fewer copies of it are in memory at once. Smaller ones V8 collects in
 * passing.
 */
export const LARGE_FROM = 256 * 1024;

/**
 * So many calls that begin to wait are worth a collection of garbage. They live long enough for V8 to give
 * what came with them (values, texts, copies on their way to disk) as much room as them.
 */
export const BACKLOG_CALLS = 2_500;
/** What came with so many, about, in bytes. */
export const BACKLOG_LITTER_BYTES = BACKLOG_CALLS * 3_500;
