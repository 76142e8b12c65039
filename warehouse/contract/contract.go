// Package contract is what every warehouse engine must do, as tests.
//
// Invariant: nothing here knows an engine. What it asks, the comments of warehouse.Warehouse promise; its SQL is the
// part that all engines share.
package contract

import (
	"testing"

	"github.com/sparrowhq/sparrow/warehouse"
)

// Run runs the whole suite. open returns an empty warehouse with its default bounds; the suite closes it.
func Run(t *testing.T, open func(t *testing.T) warehouse.Warehouse) { RunIn(t, DuckDB, open) }

// RunIn runs the suite in the words of a dialect.
func RunIn(t *testing.T, d Dialect, open func(t *testing.T) warehouse.Warehouse) {
	for _, c := range append([]test{
		{"RowsComeBackExactly", rowsComeBackExactly},
		{"RepeatedBatchChangesNothing", repeatedBatch},
		{"WhatLiesBelowTheCursorIsSkipped", overlap},
		{"AFrameMayComeInParts", partsOfAFrame},
		{"GapIsRefused", gap},
		{"BadBatchIsRefusedWhole", badBatches},
		{"CursorsAreSeparate", separateCursors},
		{"RangeWithoutRowsMovesTheCursor", rangeWithoutRows},
		{"LargestNumbers", largestNumbers},
		{"TimestampsAreExact", timestamps},
		{"OddBytes", oddBytes},
		{"ManyItemsInARequest", manyItems},
		{"ConcurrentAppendsOfOneStage", concurrentStage},
		{"ConcurrentStacks", concurrentStacks},
		{"CancelledAppendIsHarmless", cancelledAppend},

		{"NewJournalMustBeginAbove", newJournal},
		{"NewJournalForAStackThatLagged", laggingStack},
		{"OldJournalIsRefused", oldJournal},
		{"JournalsAreSeenOnce", bothStacksOneJournal},
		{"ReplayHasNoJournal", replay},

		{"ControlRecordsFromBothStacks", controlsFromBoth},
		{"ForeignControlRecordIsRefused", foreignControl},
		{"EachEventOnceInLiveAndOnceInStaging", viewsProperty},
		{"ViewsShowRunZero", viewsRunZero},

		{"OutcomesComeBackExactly", outcomesComeBack},
		{"OutcomesFollowTheirStagesCursor", outcomesOverlap},
		{"BadOutcomesAreRefusedWhole", badOutcomes},
		{"CorrectionsShowTheLatest", corrections},
		{"OutcomesInLiveAndStaging", outcomeViews},
		{"OutcomesAndJournals", outcomeJournals},
		{"ManyOutcomes", manyOutcomes},
		{"ConcurrentStages", concurrentStages},

		{"NormalisedHasFixedColumnsAtFirst", fixedOnly},
		{"NormalisedTypes", typedColumns},
		{"NormalisedNamesAreOnlyNames", oddNames},
		{"NormalisedFollowsTheRoles", leadingColumns},
	}, d.own...) {
		t.Run(c.name, func(t *testing.T) {
			if d.parallel {
				t.Parallel()
			}
			w := d.speak(open(t))
			defer func() {
				if err := w.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			}()
			c.test(t, w)
		})
	}
}
