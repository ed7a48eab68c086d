"""Selectors of real images, one file per method; `registry` lists them by name.

The `published` protocol reproduces every defect of paper 2 (cats and dogs), so that its results can
be explained; the `sound` protocol has none of them:

| | published | sound |
| --- | --- | --- |
| pool (cluster grid) | all images, including test images | training images, without copies of held-out images |
| "10 %" (cluster grid) | that many per class and cluster, four times the number | that many in total |
| grid | over the whole plane; completed with replacement | over the range of each group; completed evenly, without replacement |
| augmentation | five draws of the fraction; brightness truncates to 0 or 1 | one draw of the fraction; correct brightness |
| scored after every epoch | test images | validation images, if any |
| batch norm statistics for scores | Keras's running averages | those of the training images (see `distill.evaluation.classifier`) |
| result | one run, last epoch | last epoch, over all seeds of a sweep |

Not reproduced: the channel order (BGR instead of RGB), the selection of the first readable files of
a folder, the order of the notebook's random numbers.
"""  # noqa: E501 - a table
