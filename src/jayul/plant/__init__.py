"""Where signals come from and go to: recorded files, a replayed journal, a plant in another process, simulated plants."""
