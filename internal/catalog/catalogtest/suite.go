package catalogtest

import (
	"testing"
	"time"
)

// Test runs the conformance suite. Its subtests run in parallel, each with a
// catalogue of its own.
func Test(t *testing.T, h Harness) {
	t.Helper()
	if h.Patience == 0 {
		h.Patience = 20 * time.Second
	}
	for _, promise := range []struct {
		name  string
		check func(*fixture)
		// retention is that of tombstones; 0 is an hour.
		retention time.Duration
	}{
		{"NothingIsKnownAtFirst", nothingIsKnownAtFirst, 0},
		{"WhatIsWrittenIsReadByAll", whatIsWrittenIsReadByAll, 0},
		{"NumbersGrowWithEveryWrite", numbersGrowWithEveryWrite, 0},
		{"AGenerationIsKeptOrNew", aGenerationIsKeptOrNew, 0},
		{"InvalidRecordsAreRefused", invalidRecordsAreRefused, 0},
		{"CreateRefusesASlugInUse", createRefusesASlugInUse, 0},
		{"CreateTwiceUnderOneLeaseMakesOne", createTwiceUnderOneLeaseMakesOne, 0},
		{"ConcurrentCreatesMakeOne", concurrentCreatesMakeOne, 0},
		{"PutWritesWhatIsNotThere", putWritesWhatIsNotThere, 0},
		{"OnlyTheLatestFenceWrites", onlyTheLatestFenceWrites, 0},
		{"AnExpiredLeaseWritesUntilTheNextOne", anExpiredLeaseWritesUntilTheNextOne, 0},
		{"ConcurrentWritersLoseNothing", concurrentWritersLoseNothing, 0},
		{"DeleteLeavesATombstone", deleteLeavesATombstone, 0},
		{"ATombstoneStaysAsItIs", aTombstoneStaysAsItIs, 0},
		{"ATombstoneGivesWayToANewInstance", aTombstoneGivesWayToANewInstance, 0},
		{"ATombstoneFades", aTombstoneFades, 200 * time.Millisecond},
		{"ADeletedSandboxIsNotWrittenByLateWriters", aDeletedSandboxIsNotWrittenByLateWriters, 200 * time.Millisecond},
		{"TouchMovesLastActiveForward", touchMovesLastActiveForward, 0},
		{"TouchNeverMakesARecord", touchNeverMakesARecord, 0},
		{"ListHasEverything", listHasEverything, 0},
		{"ListHasWhatStaysWhileOthersComeAndGo", listHasWhatStaysWhileOthersComeAndGo, 0},
		{"ListRefusesABadCursor", listRefusesABadCursor, 0},
		{"UnreadableRecordsAreInUse", unreadableRecordsAreInUse, 0},
		{"ALeaseHasOneHolder", aLeaseHasOneHolder, 0},
		{"ALeaseThatIsReleasedIsFree", aLeaseThatIsReleasedIsFree, 0},
		{"ALeaseThatRunsOutIsFree", aLeaseThatRunsOutIsFree, 0},
		{"ALeaseThatIsRenewedLasts", aLeaseThatIsRenewedLasts, 0},
		{"BadLeasesAreRefused", badLeasesAreRefused, 0},
		{"SingletonsAndSlugsAreApart", singletonsAndSlugsAreApart, 0},
		{"FencesGrowUnderContention", fencesGrowUnderContention, 0},
		{"WatchTellsOfEveryWrite", watchTellsOfEveryWrite, 0},
		{"WatchTellsOfAReleasedLease", watchTellsOfAReleasedLease, 0},
		{"WatchersAreApart", watchersAreApart, 0},
		{"NumbersDoNotGoBackWhenEverythingIsLost", numbersDoNotGoBackWhenEverythingIsLost, 0},
		{"AnEndedContextIsHonoured", anEndedContextIsHonoured, 0},
		{"ConcurrentUseIsSafe", concurrentUseIsSafe, 0},
	} {
		t.Run(promise.name, func(t *testing.T) {
			t.Parallel()
			if promise.retention == 0 {
				promise.retention = time.Hour
			}
			promise.check(h.fixture(t, promise.retention))
		})
	}
}
