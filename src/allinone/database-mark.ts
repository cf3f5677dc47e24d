/** The file in the engine's data folder that says which database it is, and how often it was opened. */
export const DATABASE_MARK = "budcluster-database.json";
