package sandboxtest

import (
	"testing"
	"time"
)

// Test runs the conformance suite. Its subtests run in parallel, each with a
// provider of its own.
func Test(t *testing.T, h Harness) {
	t.Helper()
	if h.Patience == 0 {
		h.Patience = 10 * time.Second
	}
	if h.Promptness == 0 {
		h.Promptness = time.Second
	}
	c := h.Capabilities
	for _, promise := range []struct {
		name    string
		applies bool
		check   func(*fixture)
	}{
		{"NameAndCapabilitiesAreConstant", true, nameAndCapabilitiesAreConstant},
		{"GetFindAndListAgree", true, getFindAndListAgree},
		{"ARunningInstanceHasAnAddress", true, aRunningInstanceHasAnAddress},
		{"ResumeOfARunningInstanceSucceeds", true, resumeOfARunningInstanceSucceeds},
		{"DeleteOfAGoneInstanceSucceeds", true, deleteOfAGoneInstanceSucceeds},
		{"AnUnknownInstanceIsNotFound", true, anUnknownInstanceIsNotFound},
		{"AVanishedInstanceIsNotFound", true, aVanishedInstanceIsNotFound},
		{"ASlowProviderReturnsSoonAfterTheDeadline", true, aSlowProviderReturnsSoonAfterTheDeadline},
		{"AnEndedContextIsHonoured", true, anEndedContextIsHonoured},
		{"GarbageIsUnavailable", true, garbageIsUnavailable},
		{"ConcurrentReadsAreSafe", true, concurrentReadsAreSafe},
		{"HealthIsWell", true, healthIsWell},
		{"HealthSaysWhyNot", true, healthSaysWhyNot},
		{"StartWithoutCreateIsRefused", !c.Create, startWithoutCreateIsRefused},
		{"StartedInstancesRunAndAreMarked", c.Create, startedInstancesRunAndAreMarked},
		{"StartTwiceWithOneKeyMakesOne", c.Create, startTwiceWithOneKeyMakesOne},
		{"StartAtOnceWithOneKeyMakesOne", c.Create, startAtOnceWithOneKeyMakesOne},
		{"StartWithASlugInUseIsBusy", c.Create, startWithASlugInUseIsBusy},
		{"StartWithAnUnknownPresetIsInvalid", c.Create, startWithAnUnknownPresetIsInvalid},
		{"ACancelledStartLeavesNothingOrSaysWhat", c.Create, aCancelledStartLeavesNothingOrSaysWhat},
		{"DeleteRemovesARunningInstance", c.Create, deleteRemovesARunningInstance},
		{"ConcurrentStartsAreSafe", c.Create, concurrentStartsAreSafe},
		{"PauseKeepsRAMOrStops", c.Suspend, pauseKeepsRAMOrStops},
		{"PauseOfASleepingInstanceSucceeds", c.Suspend, pauseOfASleepingInstanceSucceeds},
		{"ResumeWakesASleepingInstance", c.Suspend, resumeWakesASleepingInstance},
		{"ResumeWhilePausingWaitsThenResumes", c.Suspend, resumeWhilePausingWaitsThenResumes},
		{"GenerationNeverGoesBack", c.Suspend, generationNeverGoesBack},
		{"StopOfAStoppedInstanceSucceeds", c.Create, stopOfAStoppedInstanceSucceeds},
		{"StopOfASleepingInstanceGivesItsRAMUp", c.Create && c.Suspend, stopOfASleepingInstanceGivesItsRAMUp},
		{"ResumeWakesAStoppedInstance", c.Create, resumeWakesAStoppedInstance},
		{"DeleteRemovesASleepingInstance", c.Create && c.Suspend, deleteRemovesASleepingInstance},
	} {
		if !promise.applies {
			continue
		}
		t.Run(promise.name, func(t *testing.T) {
			t.Parallel()
			promise.check(h.fixture(t))
		})
	}
}
