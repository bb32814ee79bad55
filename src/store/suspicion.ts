/** The fact of a journal that went backwards: `WentBackwards` as JSON, until nothing of then is live. */
export const SUSPICION = "journal.went_backwards";
