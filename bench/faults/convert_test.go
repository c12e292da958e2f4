package faults

import "testing"

func TestTimeouts(t *testing.T)        { run(t, Timeouts) }
func TestTimeoutsOnNodes(t *testing.T) { run(t, TimeoutsOnNodes) }

func TestRewardsLone(t *testing.T) { run(t, RewardsLone) }
func TestRewards(t *testing.T)     { run(t, Rewards) }

func TestHeldLone(t *testing.T) { run(t, HeldLone) }
func TestHeld(t *testing.T)     { run(t, Held) }
