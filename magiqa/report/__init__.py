"""Records in, tables, figures and a page out. The only room that knows matplotlib."""
