"""How real images are chosen: one file a method, one table of names (registry.py).

What the second paper (cats and dogs) really did, and what stands in its place. Every defect is
reproduced under the `published` protocol, so that its figures can be explained, and absent under
`sound`:

| | published | sound |
| --- | --- | --- |
| chosen from (cluster grid) | all images, test images among them | training images without those whose pixels are held out, too |
| "10 %" (cluster grid) | that many of every class and cluster, four times the number | that many in all |
| the grid | over the whole plane; filled up with replacement | over each group's range; filled up fairly, without replacement |
| augmentation | five draws of the fraction; brightness leaves black and full only | one draw of the fraction; brightness is right |
| looked at after every epoch | the test images | the validation images, if any |
| batch norms score with | Keras's running statistics | those of the training images (see `distill.evaluation.classifier`) |
| result | one run, last epoch | the same, over as many seeds as a sweep has |

Not reproduced: the channel order (BGR instead of RGB), the choice of the first readable files of a
folder, the order of the notebook's random numbers.
"""  # noqa: E501 - a table
