/**
 * Examines a machine before a model runs on it: {@link io.github.loomtorch.doctor.Machine} is what Java and the
 * operating system tell, {@link io.github.loomtorch.doctor.Natives} what native code tells,
 * {@link io.github.loomtorch.doctor.SelfTest} whether a model runs, and {@link io.github.loomtorch.doctor.Doctor}
 * judges them.
 */
@NullMarked
package io.github.loomtorch.doctor;

import org.jspecify.annotations.NullMarked;
