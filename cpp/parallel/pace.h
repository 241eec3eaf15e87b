// How fast each member of a team has been lately, so that each can be given as much as it can do.
//
// Processors are not alike: some are built slower, and two hardware threads of one core share its
// arithmetic. A virtual machine cannot see which of its processors do: of 16 on a server four to
// seven took twice as long as the others for the same rows, for seconds at a time.
#pragma once

#include <vector>

namespace fastrnn {

// The paces of a team of `size`, of any unit; empty where they are alike or not known.
std::vector<double> recent_paces(int size);

// What each member of a team got done in its time; 0: not known.
void note_paces(const std::vector<double>& paces);

}  // namespace fastrnn
