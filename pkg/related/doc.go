// Package related gives templates the rows around an event's row: those that it refers to
// by foreign keys, and those that refer to it. It names them as Django does, works out
// what the templates of a trigger follow, reads that for many events with one query a
// table, and keeps what it read for as long as the log proves that it still holds.
//
// What is promised: a related value is at least as new as the event, which is to say that
// it shows every change of the event's own transaction and of all before it in the log.
// It may be newer. Of tables whose changes the log does not carry, it may besides be one
// second old.
//
// Why a row that was read once serves later events. A Lookup is told all changes in the
// order of the log. In the following, a transaction is known by its Tx.Seq, its place in
// that order; an entry is what was read for one key of one table.
//
//  1. An entry shows all transactions below its seq (source.RowSet.Seq). So it serves any
//     event below seq, kept current or not.
//  2. Let the log carry all changes of the table that the entry may not show. Then an
//     event at or above seq is served if each of these changes up to the end of the
//     event's transaction has been applied to the entry. That is so if the entry was
//     made when nothing at or above seq had been told (else it is not kept), all told
//     since was applied, and the whole transaction of the event was told: seq <= through.
//     A batch that ends within a transaction is therefore held back until the rest is
//     there; if the transaction is too large for that, its events need an entry of kind 1,
//     which is read once for all of them.
//  3. To apply a change of the table to the entry is one of: nothing, if the change is
//     below seq, because the entry shows it; to put the new row in place, if the change is
//     at or above until, because the entry does not show it, and the log has the whole
//     row; else to drop the entry. So an older change never overwrites what is newer.
//     A change may be about any key as far as the log tells: under a key-only replica
//     identity it does not say what other columns held before. Then nothing of the table
//     that is read by those columns serves before it shows the change (target.floor).
//     Keys are compared as texts: where equal keys may have different texts, no entry is
//     kept.
//  4. The log carries the changes that the entry may not show if the table has been
//     published without a gap since before the last of the transactions that the entry
//     shows only in part, or not at all, wrote to the table. source.Catalog.Carried tells
//     whether the table is published, by a word that changes with every gap. After it was
//     first seen published, source.Catalog.Barrier waits for every transaction that had
//     written to it before. If the word is the same after that, the changes of every
//     transaction that a query from then on may not show are in the log, whole: those that
//     ended are visible, the others began to write after the publication. Only then
//     is there a lease on the table (Leases.Renew), and only entries read under a lease
//     are kept. That changes which such an entry shows may be in the log in part, or
//     not at all, does no harm: by 3 they are not applied, or drop it.
//  5. The word is asked again every fraction of a second. Somebody may take the table out
//     of the publication, or exchange it, in between: that is found out within a second,
//     because a lease ends by itself one second after it was known to be good.
//
// What is not kept by a lease serves for one second after it was read, which is all that
// is promised of tables that cannot be tailed.
package related
